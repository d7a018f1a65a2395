"""Tests of what happens when the surroundings fail: kills, full disks, clocks, lost bytes."""
