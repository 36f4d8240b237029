"""Floor 10: presentation: reports to tables, bars and lines.  Knows no mount and no network."""
