"""A stand-in for Oracle CRM On Demand: its SOAP services over a generated data set, and a control page to change it."""
