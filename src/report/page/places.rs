//! What the pictures of a page are of: methods, the places of their panels, and a picture a run at each.

use super::pictures::{Pictures, Place};
use crate::figure::FoundMethod;

/// A section with pictures.
pub(super) struct MethodText<'a> {
    pub(super) name: &'a str,
    pub(super) title: String,
    pub(super) about: &'a str,
    pub(super) misleads: &'a str,
    pub(super) has_cells: bool,
    pub(super) has_negative: bool,
    pub(super) places: Vec<PlaceText>,
}

/// A heading with its pictures.
pub(super) struct PlaceText {
    pub(super) k: String,
    pub(super) title: String,
    /// Whether they are tables without a picture.
    pub(super) is_rows: bool,
    pub(super) pictures: Vec<PictureText>,
}

/// A picture.
pub(super) struct PictureText {
    /// The index of its run; `null` where it is of all together.
    pub(super) run: String,
    /// Its accessible name, and that of its files.
    pub(super) title: String,
    pub(super) caption: String,
}

impl<'a> MethodText<'a> {
    /// The section of a method of the registry; `names`: of the runs that have a picture each.
    pub(super) fn of(found: &'a FoundMethod, pictures: &Pictures, names: &[&str]) -> Self {
        let title = found.figures.first().map(|found| found.figure.title().to_owned());
        let title = title.unwrap_or_else(|| found.name.to_owned());
        Self::new(found.name, title, (found.about, found.misleads), pictures, names)
    }

    /// A section with what it shows and how that can mislead.
    pub(super) fn new(
        name: &'a str,
        title: String,
        (about, misleads): (&'a str, &'a str),
        pictures: &Pictures,
        names: &[&str],
    ) -> Self {
        Self {
            name,
            about,
            misleads,
            has_cells: pictures.places.iter().any(|place| place.cells.is_some()),
            has_negative: pictures.places.iter().any(|place| place.cells == Some(true)),
            places: places(title.split(':').next().unwrap_or(&title), pictures, names),
            title,
        }
    }
}

/// The places of a method's panels.
pub(super) fn places(method: &str, pictures: &Pictures, names: &[&str]) -> Vec<PlaceText> {
    let text = |(k, place): (usize, &Place)| {
        let title = [method, &place.name].join(", ");
        PlaceText {
            k: k.to_string(),
            title: place.title.clone(),
            is_rows: place.is_rows,
            pictures: if place.is_shared {
                vec![PictureText {
                    run: "null".to_owned(),
                    caption: String::new(),
                    title,
                }]
            } else {
                // A run whose model has no such place has no picture of it, at no checkpoint.
                let mut all = of_runs(&title, names);
                all.retain(|picture| pictures.has(k, &picture.run));
                all
            },
        }
    };
    pictures.places.iter().enumerate().map(text).collect()
}

/// The places of what is shown of a query.
pub(super) fn query_places(names: &[&str]) -> Vec<PlaceText> {
    let headings = [
        ("grid", "Lens: the top-1 token"),
        ("attention", "Attention by head at the chosen iteration"),
        ("answer", "Probability of the target by iteration"),
        ("margin", "Margin of the target by iteration"),
    ];
    let text = |(k, title): (&str, &str)| PlaceText {
        k: k.to_owned(),
        title: title.to_owned(),
        is_rows: false,
        pictures: of_runs(title, names),
    };
    headings.map(text).into_iter().collect()
}

fn of_runs(title: &str, names: &[&str]) -> Vec<PictureText> {
    let text = |(index, name): (usize, &&str)| PictureText {
        run: index.to_string(),
        title: format!("{title}, {name}"),
        caption: (*name).to_owned(),
    };
    names.iter().enumerate().map(text).collect()
}
