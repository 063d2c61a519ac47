"""The commands: functions whose parameters are options. They parse and call, no more."""
