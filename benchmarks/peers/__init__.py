"""Programs that do the same as Mqueduct, to compare it with: a hand-written floor, and how others are written."""
