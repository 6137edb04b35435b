from sd_generator_cli.api.annotator import AnnotationWorker, ImageAnnotator
from sd_generator_cli.api.image_writer import ImageWriter

__all__ = ["AnnotationWorker", "ImageAnnotator", "ImageWriter"]
