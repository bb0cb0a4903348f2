"""Release policies: Cedar rules and typed reference data, checked before they are used, and explained when they refuse."""
