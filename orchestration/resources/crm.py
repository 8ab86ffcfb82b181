"""The CRM as a Dagster resource."""

from functools import cached_property

import dagster as dg

from orchestration.crm.client import CrmClient
from orchestration.crm.settings import CrmSettings


class CrmResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Reads the pod named by ``CRMOD_URL``, with the credentials of the environment."""

    @cached_property
    def client(self) -> CrmClient:
        return CrmClient(CrmSettings.from_environment())
