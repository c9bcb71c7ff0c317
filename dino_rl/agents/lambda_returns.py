"""Lambda-returns of a rollout (Sutton and Barto 2018, section 12.1)."""

import numpy as np


def lambda_returns(
    reward: np.ndarray,
    value: np.ndarray,
    terminated: np.ndarray,
    cut: np.ndarray,
    discount: float,
    trace_decay: float,
) -> np.ndarray:
    """The lambda-return of each step, float32 [T, N], from the last step backwards.

    Args:
        reward: [T, N].
        value: [T + 1, N], of the best action on each observation, and on the one after the rollout.
        terminated: bool [T, N], nothing follows the step.
        cut: bool [T, N], the return bootstraps from the next observation, whatever followed it.
        discount: of one step.
        trace_decay: lambda.
    """
    returns = np.empty(reward.shape, np.float32)
    following = value[-1]
    for t in reversed(range(len(reward))):
        decay = np.where(cut[t], 0.0, trace_decay)
        following = np.where(terminated[t], 0.0, decay * following + (1 - decay) * value[t + 1])
        following = returns[t] = reward[t] + discount * following
    return returns
