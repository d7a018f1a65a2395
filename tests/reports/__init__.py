"""Tests of the reports, on fabricated results folders."""
