"""The preset "pretrained": drawn pictures, SmolLM2 and EfficientNet-Lite0 as one small multimodal model."""
