"""Tests of tuning: spaces, budgets, studies and the whole command."""
