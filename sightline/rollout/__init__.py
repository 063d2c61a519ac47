"""A rollout on the local mesh: frames are moved to a new version step by step, judged by what it sees."""
