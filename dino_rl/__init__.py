"""dino-rl: an agent that learns the real Chrome Dino game from pixels.

Importing this package registers `ChromeDino-v0` with Gymnasium. It loads neither TensorFlow nor Selenium.
"""

from dino_rl.registration import register_with_gymnasium

__version__ = "0.2.0"

register_with_gymnasium()
