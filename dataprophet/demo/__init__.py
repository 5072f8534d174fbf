"""The demo: drawn scenes, datasets made from them, and the tiny multimodal model trained on them."""
