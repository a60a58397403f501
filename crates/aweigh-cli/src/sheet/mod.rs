//! Sheets that show, level by level, which points the boxes of an image train.

mod boxes;
mod layout;
mod legend;
mod panel;
mod paper;
mod sheets;
mod table;

use aweigh_train::explain::{LevelRoles, Stage};
use image::RgbImage;

use layout::Layout;
use paper::{framed, grid, paragraph, stack, wrap};

pub(crate) use boxes::table as box_table;
pub(crate) use sheets::Sheets;

impl Sheets<'_> {
    /// The sheet of a stage: heading, legend, one panel per level, a table of the boxes.
    pub(crate) fn draw(&self, stage: &Stage) -> RgbImage {
        let shown: Vec<&LevelRoles> = self.levels.iter().map(|l| &stage.levels[*l]).collect();
        let finest = shown.iter().map(|level| level.shape.stride).min();
        let layout = Layout::new(shown.len(), self.explained.input, finest.unwrap_or(1));
        let table = boxes::table(self.explained, stage, self.names);
        let letters = self.letters(&layout);
        let mut cells = self.panels(&layout, &shown);
        let mut parts = vec![legend::draw(self, stage, &layout)];
        // The table goes where the last row of panels has room, or below.
        let free = layout.free_width(cells.len());
        if table.fits([free, cells[0].height()], letters) {
            cells.push(table.draw(free, letters));
            parts.push(grid(&cells, &layout));
        } else {
            parts.push(grid(&cells, &layout));
            parts.push(table.draw(layout.width(), letters));
        }
        framed(&stack(&parts, layout.margin()), layout.margin())
    }

    /// The levels, each with its title.
    fn panels(&self, layout: &Layout, shown: &[&LevelRoles]) -> Vec<RgbImage> {
        let letters = self.letters(layout);
        let names = self.levels.iter().map(|l| &self.explained.levels[*l].name);
        let titles: Vec<Vec<String>> = names
            .zip(shown)
            .map(|(name, level)| wrap(&panel::title(name, level), layout.panel[0], letters))
            .collect();
        let lines = titles.iter().map(Vec::len).max().unwrap_or(0);
        let background = panel::background(self, layout);
        let of_level = |(level, title): (&&LevelRoles, &Vec<String>)| {
            let title = paragraph(title, lines, layout.panel[0], letters);
            stack(&[title, panel::draw(self, layout, level, &background)], 0)
        };
        shown.iter().zip(&titles).map(of_level).collect()
    }
}
