"""From a trained run to tables, structures, pictures and a report. Reads run directories, never a trainer."""
