"""The serving half of the performance contract: P1 to P3, P7, P10 and P11, each beside its reference."""
