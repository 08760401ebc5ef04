"""The application that is measured: what a user of Mqueduct would write for these readings."""
