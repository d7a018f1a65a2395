"""Leaderboard, comparisons, summaries and the other tables."""
