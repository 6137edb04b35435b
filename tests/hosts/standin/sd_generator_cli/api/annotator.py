"""Opens images again, in a thread of its own, and overwrites them in place."""

import queue
import threading

from PIL import Image, ImageDraw


class ImageAnnotator:
    def annotate_image(self, image_path, variations, keys=None, output_path=None):
        image = Image.open(image_path).convert("RGBA")
        shown = {key: value for key, value in variations.items() if not keys or key in keys}
        if not shown:
            return image_path
        draw = ImageDraw.Draw(image)
        draw.rectangle((0, image.height * 3 // 4, image.width, image.height), fill=(0, 0, 0, 255))
        target = output_path or image_path
        image.save(target, "PNG")
        return target


class AnnotationWorker:
    def __init__(self):
        self._annotator = ImageAnnotator()
        self._jobs = queue.Queue()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def submit(self, image_path, variations):
        self._jobs.put((image_path, variations))

    def stop(self, timeout=30.0):
        self._jobs.put(None)
        self._thread.join(timeout)

    def _work(self):
        while (job := self._jobs.get()) is not None:
            self._annotator.annotate_image(image_path=job[0], variations=job[1], keys=None, output_path=None)
