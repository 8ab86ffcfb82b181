"""Reference device client: keeps an SQLite file equal to what a territory may see. See docs/device-guide.md."""
