"""The numbers of a run as a TensorBoard event file: `tensorboard --logdir runs`."""

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from dino_rl.backend import tf
from dino_rl.runs.output import cannot_write

BINS = 30  # of a histogram


class TensorBoard:
    """Writes an event file (a `Tracker`). A run that is resumed writes another one into its directory.

    TensorFlow writes the file. The writer of tensorboardX has a thread of its own, which dies on a full disk,
    and then the run waits forever; and it loads torch wherever that is installed, which takes two seconds.
    Here a full disk is an error of the run.

    Args:
        run_dir: the run's directory. It must exist when the run starts.
    """

    def __init__(self, run_dir: Path):
        self._run_dir = run_dir
        self._path = run_dir
        self._file: Any = None  # a tf.io.TFRecordWriter

    def start(self, settings: Mapping[str, Any], step: int) -> None:
        """Open the file, and write the configuration.

        Raises:
            RunError: the file cannot be written.
        """
        self._path = self._run_dir / f"events.out.tfevents.{int(time.time())}.step-{step}"
        try:
            self._file = tf.io.TFRecordWriter(str(self._path))
        except tf.errors.OpError as error:
            raise cannot_write(self._path, error) from error
        self._add(file_version="brain.Event:2")
        if step:  # TensorBoard drops what an earlier file has of later steps
            log = tf.compat.v1.SessionLog(status=tf.compat.v1.SessionLog.START)
            self._add(step=step + 1, session_log=log)
        rows = "".join(f"| {name} | {_text(value)} |\n" for name, value in settings.items())
        tensor = tf.make_tensor_proto([f"| field | value |\n|---|---|\n{rows}"])
        self._value(0, tag="configuration", metadata=_plugin("text"), tensor=tensor)
        start = _plugin("hparams", _session_start(settings))
        self._value(0, tag="_hparams_/session_start_info", metadata=start)
        self.flush()

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Log finite numbers by name.

        Raises:
            RunError: the file cannot be written.
        """
        summary = tf.compat.v1.Summary()
        for name, value in values.items():
            summary.value.add(tag=name, simple_value=value)
        self._add(step=step, summary=summary)

    def histogram(self, name: str, values: np.ndarray, step: int) -> None:
        counts, edges = np.histogram(values, BINS)
        histogram = tf.compat.v1.HistogramProto(
            min=values.min(),
            max=values.max(),
            num=len(values),
            sum=values.sum(),
            sum_squares=np.square(values).sum(),
            bucket=counts,
            bucket_limit=edges[1:],
        )
        self._value(step, tag=name, histo=histogram)

    def animation(self, name: str, gif: bytes, size: tuple[int, int], step: int) -> None:
        image = {"height": size[0], "width": size[1], "colorspace": 1, "encoded_image_string": gif}
        self._value(step, tag=name, image=image)

    def _value(self, step: int, **value: Any):
        summary = tf.compat.v1.Summary()
        summary.value.add(**value)
        self._add(step=step, summary=summary)

    def _add(self, **event: Any):
        record = tf.compat.v1.Event(wall_time=time.time(), **event).SerializeToString()
        try:
            self._file.write(record)
        except tf.errors.OpError as error:
            raise cannot_write(self._path, error) from error

    def flush(self) -> None:
        try:
            self._file.flush()
        except tf.errors.OpError as error:
            raise cannot_write(self._path, error) from error

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """There is nothing to take over."""

    def close(self) -> None:
        """Close the file. What matters has been written by `flush`, which reports what goes wrong."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(tf.errors.OpError):
                file.close()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _plugin(name: str, content: bytes = b"") -> Any:
    """Says which page of TensorBoard shows a value."""
    metadata = tf.compat.v1.SummaryMetadata()
    metadata.plugin_data.plugin_name = name
    metadata.plugin_data.content = content
    return metadata


# --- The HPARAMS page --------------------------------------------------------------------------------------
# Its message is not in TensorFlow: HParamsPluginData(session_start_info=SessionStartInfo(hparams=...)) of
# tensorboard/plugins/hparams/plugin_data.proto. TensorBoard itself finds out which scalars there are.


def _session_start(settings: Mapping[str, Any]) -> bytes:
    from google.protobuf.struct_pb2 import Value

    content = b""
    for name, setting in settings.items():
        if isinstance(setting, bool):
            value = Value(bool_value=setting)
        elif isinstance(setting, int | float):
            value = Value(number_value=setting)
        else:
            value = Value(string_value=_text(setting))
        content += _field(1, _field(1, name.encode()) + _field(2, value.SerializeToString()))
    return _field(3, content)


def _field(number: int, content: bytes) -> bytes:
    """A field of a message that holds bytes, as protocol buffers encode it: key, length, content."""
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Seven bits in a byte, the lowest first; the highest bit of a byte says that another follows."""
    parts = [value >> shift & 0x7F for shift in range(0, max(1, value.bit_length()), 7)]
    return bytes([part | 0x80 for part in parts[:-1]] + parts[-1:])
