//! COCO's categories, by which published detectors name their outputs.

use crate::checkpoint::Class;

/// Outputs of torchvision's detectors: the ids of the categories, which have gaps, and 0.
const TORCHVISION_OUTPUTS: usize = 91;

/// Id and name of the 80 categories.
const CATEGORIES: [(i64, &str); 80] = [
    (1, "person"),
    (2, "bicycle"),
    (3, "car"),
    (4, "motorcycle"),
    (5, "airplane"),
    (6, "bus"),
    (7, "train"),
    (8, "truck"),
    (9, "boat"),
    (10, "traffic light"),
    (11, "fire hydrant"),
    (13, "stop sign"),
    (14, "parking meter"),
    (15, "bench"),
    (16, "bird"),
    (17, "cat"),
    (18, "dog"),
    (19, "horse"),
    (20, "sheep"),
    (21, "cow"),
    (22, "elephant"),
    (23, "bear"),
    (24, "zebra"),
    (25, "giraffe"),
    (27, "backpack"),
    (28, "umbrella"),
    (31, "handbag"),
    (32, "tie"),
    (33, "suitcase"),
    (34, "frisbee"),
    (35, "skis"),
    (36, "snowboard"),
    (37, "sports ball"),
    (38, "kite"),
    (39, "baseball bat"),
    (40, "baseball glove"),
    (41, "skateboard"),
    (42, "surfboard"),
    (43, "tennis racket"),
    (44, "bottle"),
    (46, "wine glass"),
    (47, "cup"),
    (48, "fork"),
    (49, "knife"),
    (50, "spoon"),
    (51, "bowl"),
    (52, "banana"),
    (53, "apple"),
    (54, "sandwich"),
    (55, "orange"),
    (56, "broccoli"),
    (57, "carrot"),
    (58, "hot dog"),
    (59, "pizza"),
    (60, "donut"),
    (61, "cake"),
    (62, "chair"),
    (63, "couch"),
    (64, "potted plant"),
    (65, "bed"),
    (67, "dining table"),
    (70, "toilet"),
    (72, "tv"),
    (73, "laptop"),
    (74, "mouse"),
    (75, "remote"),
    (76, "keyboard"),
    (77, "cell phone"),
    (78, "microwave"),
    (79, "oven"),
    (80, "toaster"),
    (81, "sink"),
    (82, "refrigerator"),
    (84, "book"),
    (85, "clock"),
    (86, "vase"),
    (87, "scissors"),
    (88, "teddy bear"),
    (89, "hair drier"),
    (90, "toothbrush"),
];

/// Classes of these names; where all are COCO's, with COCO's ids, otherwise numbered from 1.
pub(super) fn named(names: &[String]) -> Vec<Class> {
    let id = |name: &str| {
        let found = CATEGORIES.iter().find(|(_, known)| *known == name);
        found.map(|(id, _)| *id)
    };
    let ids: Option<Vec<i64>> = names.iter().map(|name| id(name)).collect();
    let ids = ids.unwrap_or_else(|| (1..).take(names.len()).collect());
    let class = |(id, name): (i64, &String)| Class {
        id,
        name: name.clone(),
    };
    ids.into_iter().zip(names).map(class).collect()
}

/// The classes of a published detector with so many outputs; none if it is not one of COCO's.
pub(super) fn published(outputs: usize) -> Option<Vec<Class>> {
    let class = |id: i64| {
        let known = CATEGORIES.iter().find(|(known, _)| *known == id);
        let name = match known {
            Some((_, name)) => (*name).to_owned(),
            None => format!("unused {id}"),
        };
        Class { id, name }
    };
    match outputs {
        TORCHVISION_OUTPUTS => Some((0..TORCHVISION_OUTPUTS as i64).map(class).collect()),
        80 => Some(CATEGORIES.iter().map(|(id, _)| class(*id)).collect()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_coco_have_its_ids() {
        let check = |names: [&str; 2], expected: [i64; 2]| {
            let names = names.map(str::to_owned);
            let ids: Vec<i64> = named(&names).iter().map(|class| class.id).collect();
            assert_eq!(ids, expected, "{names:?}");
        };
        check(["toothbrush", "dog"], [90, 18]);
        check(["dog", "my cell"], [1, 2]);
    }

    #[test]
    fn outputs_of_torchvision_are_ids() {
        let classes = published(91).unwrap();
        let check = |label: usize, name: &str| {
            assert_eq!(classes[label].id, label as i64);
            assert_eq!(classes[label].name, name);
        };
        check(0, "unused 0");
        check(1, "person");
        check(12, "unused 12");
        check(90, "toothbrush");
        assert_eq!(published(80).unwrap()[79].id, 90);
        assert_eq!(published(3), None);
    }
}
