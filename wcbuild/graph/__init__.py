"""The form that front end and solver share: steps as plain, JSON-able values."""
