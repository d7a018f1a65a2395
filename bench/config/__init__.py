"""What a run is asked to do: the validated configs of runs, tasks and their sources."""
