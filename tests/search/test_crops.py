"""Parts of pictures, and the guises that copies may go in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from search.crops import find_parts, make_guises


@given(width=st.integers(1, 90), height=st.integers(1, 90), place=st.integers(0, 80), side=st.integers(1, 60))
def test_parts_are_boxes_inside_the_picture(width: int, height: int, place: int, side: int) -> None:
    image = Image.new("RGB", (width, height), "white")
    image.paste((200, 30, 40), (place, place // 2, place + side, place // 2 + side))
    for left, top, right, bottom in find_parts(image):
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
    assert all(min(guise.size) >= 1 for guise in make_guises(image))


@pytest.mark.parametrize("box", [(100, 60, 420, 300), (80, 200, 360, 390), (300, 20, 620, 380)])
def test_a_picture_on_a_page_is_found(box: tuple[int, int, int, int]) -> None:
    page = Image.new("RGB", (640, 400), (245, 246, 248))
    for line in range(20):
        page.paste((90, 90, 90), (5, 8 + 20 * line, 60, 12 + 20 * line))
    page.paste((30, 120, 60), box)
    near = [found for found in find_parts(page) if max(abs(a - b) for a, b in zip(found, box, strict=True)) <= 6]
    assert near


def test_the_border_around_a_picture_is_left_out() -> None:
    framed = Image.new("RGB", (300, 200), "black")
    framed.paste((200, 180, 20), (45, 30, 255, 170))
    assert find_parts(framed)[0] == pytest.approx((45, 30, 255, 170), abs=3)


def test_a_collages_tiles_are_among_the_parts() -> None:
    parts = find_parts(Image.effect_noise((400, 400), 80).convert("RGB"))
    assert {(0, 0, 200, 200), (200, 0, 400, 200), (0, 200, 200, 400), (200, 200, 400, 400)} <= set(parts)
