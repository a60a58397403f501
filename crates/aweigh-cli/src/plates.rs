//! Places for the plates of boxes.

/// A plate that is to be placed; all sizes and places are in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Plate {
    /// The box that it belongs to, `[x1, y1, x2, y2]`.
    pub(crate) bbox: [i32; 4],
    /// Width and height.
    pub(crate) size: [i32; 2],
}

/// The upper left corners of plates on a picture of `[width, height]`.
///
/// A plate lies above the upper left corner of its box or close by, where it hides none of those
/// before it; where there is no such place, where it hides as little as possible of them.
pub(crate) fn place(plates: &[Plate], picture: [i32; 2]) -> Vec<[i32; 2]> {
    let mut placed: Vec<[i32; 4]> = Vec::new();
    for plate in plates {
        let hidden = |area: &[i32; 4]| -> i64 { placed.iter().map(|p| common(*p, *area)).sum() };
        let best = plate.places(picture).min_by_key(hidden);
        placed.push(best.expect("there is at least one place"));
    }
    placed.iter().map(|[x, y, ..]| [*x, *y]).collect()
}

impl Plate {
    /// Where the plate may lie, the best place first.
    fn places(self, [width, height]: [i32; 2]) -> impl Iterator<Item = [i32; 4]> {
        let [x1, y1, _, y2] = self.bbox;
        let [w, h] = self.size;
        let inside = move |y: &i32| (0..=height - h).contains(y);
        let [above, top, below, bottom] = [y1 - h, y1, y2, y2 - h];
        let rows = match y2 - y1 < 2 * h {
            // The plate would hide the box.
            true => [above, below, top, bottom],
            false => [above, top, below, bottom],
        };
        let mut rows: Vec<i32> = rows.into_iter().filter(inside).collect();
        if rows.is_empty() {
            rows.push(y1.min(height - h).max(0));
        }
        self.shifts().flat_map(move |shift| {
            let x = (x1 + shift).min(width - w).max(0);
            let rows = rows.clone().into_iter();
            rows.map(move |y| [x, y, x + w, y + h])
        })
    }

    /// How far the plate may move along the edge of its box until it only touches a corner, the
    /// smallest distance first.
    fn shifts(self) -> impl Iterator<Item = i32> {
        let [x1, _, x2, _] = self.bbox;
        let [w, h] = self.size;
        let step = (h / 2).max(1);
        let right = (x2 - x1).max(0);
        let steps = right.max(w) / step + 1;
        let both = (1..=steps).flat_map(move |n| [(n * step).min(right), -(n * step).min(w)]);
        std::iter::once(0).chain(both)
    }
}

/// The area that two rectangles share.
fn common(a: [i32; 4], b: [i32; 4]) -> i64 {
    let side =
        |axis: usize| i64::from((a[axis + 2].min(b[axis + 2]) - a[axis].max(b[axis])).max(0));
    side(0) * side(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PICTURE: [i32; 2] = [200, 100];

    fn check(boxes: &[[i32; 4]], size: [i32; 2], expected: &[[i32; 2]]) {
        let plates: Vec<Plate> = boxes
            .iter()
            .map(|bbox| Plate { bbox: *bbox, size })
            .collect();
        assert_eq!(place(&plates, PICTURE), expected, "{boxes:?}");
    }

    #[test]
    fn a_plate_lies_at_the_corner_of_its_box() {
        let size = [40, 10];
        check(&[], size, &[]);
        check(&[[50, 40, 90, 80]], size, &[[50, 30]]);
        // No room above, on the right, on the left, anywhere.
        check(&[[50, 5, 90, 80]], size, &[[50, 5]]);
        check(&[[50, 5, 90, 20]], size, &[[50, 20]]);
        check(&[[190, 40, 199, 80]], size, &[[160, 30]]);
        check(&[[-8, 40, 20, 80]], size, &[[0, 30]]);
        check(&[[50, 40, 90, 80]], [300, 200], &[[0, 0]]);
        check(&[[-8, -8, 208, 108]], size, &[[0, 0]]);
    }

    #[test]
    fn plates_of_one_corner_lie_around_it() {
        let bbox = [50, 40, 90, 80];
        check(
            &[bbox; 6],
            [40, 10],
            &[[50, 30], [50, 40], [50, 80], [50, 70], [90, 30], [90, 40]],
        );
    }

    #[test]
    fn no_plate_hides_another_while_there_is_room() {
        let corner = |n: i32| [n * 7 % 90 + 40, n * 5 % 50 + 20];
        let boxes = (0..24).map(corner).map(|[x, y]| [x, y, x + 60, y + 30]);
        let plates: Vec<Plate> = boxes
            .map(|bbox| Plate {
                bbox,
                size: [30, 8],
            })
            .collect();
        let corners = place(&plates, PICTURE);
        let areas: Vec<[i32; 4]> = corners
            .iter()
            .map(|[x, y]| [*x, *y, x + 30, y + 8])
            .collect();
        for (index, area) in areas.iter().enumerate() {
            let shared: i64 = areas[..index]
                .iter()
                .map(|other| common(*area, *other))
                .sum();
            assert_eq!(shared, 0, "{index}: {areas:?}");
        }
    }

    #[test]
    fn without_room_a_plate_hides_little() {
        // The picture is full of plates before the last one, whose place half of a plate covers.
        let full: Vec<[i32; 4]> = (0..10).map(|n| [0, n * 10 + 10, 1, n * 10 + 20]).collect();
        let plates = |size: [i32; 2]| full.iter().map(move |bbox| Plate { bbox: *bbox, size });
        let mut all: Vec<Plate> = plates([200, 10]).collect();
        all.push(Plate {
            bbox: [50, 40, 90, 80],
            size: [40, 10],
        });
        assert_eq!(place(&all, PICTURE)[10], [50, 30]);
    }
}
