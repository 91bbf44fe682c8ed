def without_help_or_dry_run(): return ["todo"]
def against_the_emulator(): return ["todo"]
