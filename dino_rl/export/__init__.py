"""A trained network in other formats: a JavaScript file that plays in a browser, and ONNX."""
