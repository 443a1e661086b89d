"""Tables and figures to one HTML page."""
