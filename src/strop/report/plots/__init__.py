"""One plot a file; each takes parts of the report and returns an inline SVG figure, or an empty string without data."""
