"""What Syne Tune's local backend runs for each trial of `peers.py`."""

import argparse

from peers import METRIC, train
from syne_tune import Reporter

parser = argparse.ArgumentParser()
parser.add_argument("--critic_dim", type=int)
parser.add_argument("--steps", type=int)
given, _ = parser.parse_known_args()
report = Reporter()
train(given.critic_dim, given.steps, lambda step, value: report(step=step + 1, **{METRIC: value}))
