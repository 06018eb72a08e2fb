"""All figures of a small sweep, drawn in this process or in another one."""

from states import sweep_state

from gramtune.analysis.importance import Importances
from gramtune.report.write import write_report


def drawn(folder):
    state = sweep_state(folder, "  objective.critic_dim: {grid: [1, 4]}\n")
    text = write_report(state, folder, lambda _: Importances(why="not of interest"))
    assert "failed" not in text
    assert "not drawn" not in text
