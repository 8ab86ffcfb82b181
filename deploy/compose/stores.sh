#!/bin/sh
# For each tenant that has STORE_PASSWORD_<NAME> set: a role and a database of the same name, which no other tenant may
# open, and a role <name>_reader for the service, which may only read. It can be run again, for new tenants or passwords.
set -eu

printenv | sed -n 's/^STORE_PASSWORD_\([A-Z][A-Z0-9_]*\)=.*/\1/p' | while read -r name; do
    STORE_TENANT=$(printf %s "$name" | tr '[:upper:]' '[:lower:]')
    STORE_OWNER=$(printenv "STORE_PASSWORD_$name")
    STORE_READER=$(printenv "READER_PASSWORD_$name")
    export STORE_TENANT STORE_OWNER STORE_READER
    psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
\getenv tenant STORE_TENANT
\getenv owner_password STORE_OWNER
\getenv reader_password STORE_READER
SELECT :'tenant' || '_reader' AS reader \gset
SELECT format('CREATE ROLE %I LOGIN', name) FROM unnest(ARRAY[:'tenant', :'reader']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
ALTER ROLE :"tenant" PASSWORD :'owner_password';
ALTER ROLE :"reader" PASSWORD :'reader_password';
SELECT format('CREATE DATABASE %I OWNER %I', :'tenant', :'tenant')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'tenant') \gexec
REVOKE ALL ON DATABASE :"tenant" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"tenant" TO :"reader";
\connect :"tenant"
GRANT CREATE, USAGE ON SCHEMA public TO :"tenant";
ALTER DEFAULT PRIVILEGES FOR ROLE :"tenant" GRANT SELECT ON TABLES TO :"reader";
GRANT SELECT ON ALL TABLES IN SCHEMA public TO :"reader";
SQL
done
