"""The parts of image/boot-test."""
