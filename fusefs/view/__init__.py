"""Presentation: reports to tables, bars and lines.  Knows no mount and no network."""
