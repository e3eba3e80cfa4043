"""Print the README's own commands, so that CI runs what a newcomer types and nothing else.

`run`: the first block, install and run. `install` and `test`: the two halves of the second, around `&& pytest`.
"""

import re
import sys
from pathlib import Path

readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
run, develop = re.findall(r"^```bash\n(.+?)\n```$", readme, flags=re.MULTILINE | re.DOTALL)[:2]
install, test = develop.split(" && pytest")
print({"run": run, "install": install, "test": f"pytest{test}"}[sys.argv[1]])
