"""What a site knows: its texts split into sections, found again by a visitor's own words."""
