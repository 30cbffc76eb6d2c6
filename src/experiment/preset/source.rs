//! Where presets are: shipped with the program, or in a file of one's own.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::{Preset, is_name};
use crate::error::{Error, Result};
use crate::files;
use crate::wording::{choices, did_you_mean};

/// A preset that comes with the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShippedPreset {
    /// The systematic experiment at the size of a laptop.
    Laptop,
    /// Shows that the systematic experiment works; no science claimed.
    Quick,
    /// The depth experiment at the size of a laptop.
    DepthLaptop,
    /// Shows that the depth experiment works; no science claimed.
    DepthQuick,
    /// The systematic part of the claims.
    ClaimsSystematic,
    /// The depth part of the claims.
    ClaimsDepth,
    /// The systematic experiment with the paper's own settings, for a cluster.
    PaperSystematic,
    /// The depth experiment with the paper's own settings, for a cluster.
    PaperDepth,
}

impl ShippedPreset {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Laptop,
        Self::Quick,
        Self::DepthLaptop,
        Self::DepthQuick,
        Self::ClaimsSystematic,
        Self::ClaimsDepth,
        Self::PaperSystematic,
        Self::PaperDepth,
    ];

    /// What users call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Laptop => "laptop",
            Self::Quick => "quick",
            Self::DepthLaptop => "depth-laptop",
            Self::DepthQuick => "depth-quick",
            Self::ClaimsSystematic => "claims-systematic",
            Self::ClaimsDepth => "claims-depth",
            Self::PaperSystematic => "paper-systematic",
            Self::PaperDepth => "paper-depth",
        }
    }

    /// Its TOML, with comments.
    pub fn text(self) -> &'static str {
        match self {
            Self::Laptop => include_str!("../presets/laptop.toml"),
            Self::Quick => include_str!("../presets/quick.toml"),
            Self::DepthLaptop => include_str!("../presets/depth-laptop.toml"),
            Self::DepthQuick => include_str!("../presets/depth-quick.toml"),
            Self::ClaimsSystematic => include_str!("../presets/claims-systematic.toml"),
            Self::ClaimsDepth => include_str!("../presets/claims-depth.toml"),
            Self::PaperSystematic => include_str!("../presets/paper-systematic.toml"),
            Self::PaperDepth => include_str!("../presets/paper-depth.toml"),
        }
    }

    fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|preset| preset.name() == name)
    }
}

fn shipped_names() -> [&'static str; ShippedPreset::ALL.len()] {
    ShippedPreset::ALL.map(ShippedPreset::name)
}

impl FromStr for ShippedPreset {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        Self::of_name(name).ok_or_else(|| format!("allowed: {}", choices(name, &shipped_names())))
    }
}

/// The error of a preset `text` that is neither among `names` nor a file: what is allowed, and the nearest name.
pub fn unknown_preset(text: &str, names: &[&str]) -> String {
    format!(
        "allowed: {}, or the path of a preset of your own, ending in .toml{}",
        names.join(", "),
        did_you_mean(text, names)
    )
}

/// Where a preset is: shipped, or in a file whose name ends in `.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PresetSource {
    /// A shipped one.
    Shipped(ShippedPreset),
    /// One in a file.
    File(PathBuf),
}

impl FromStr for PresetSource {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if Path::new(text).extension().is_some_and(|extension| extension == "toml") {
            return Ok(Self::File(text.into()));
        }
        ShippedPreset::of_name(text)
            .map(Self::Shipped)
            .ok_or_else(|| unknown_preset(text, &shipped_names()))
    }
}

impl PresetSource {
    /// Reads and checks the preset. `seed` takes the place of every seed in it.
    ///
    /// # Errors
    /// When the file cannot be read, a key is unknown or missing, or a value is impossible; the message names file and key.
    pub fn read(&self, seed: Option<u64>) -> Result<Preset> {
        match self {
            Self::Shipped(shipped) => {
                Preset::parse(shipped.text(), seed).map_err(|e| Error::input(format!("preset {}: {e}", shipped.name())))
            }
            Self::File(path) => Preset::parse(&files::read_text(path)?, seed).map_err(|e| Error::file(path, e)),
        }
    }

    /// The name of its experiment, and of its folders: that of the shipped preset or of the file; with the seed, where
    /// that is not the preset's own.
    ///
    /// # Errors
    /// When the file's name cannot be that of a folder, or is that of a shipped preset and the content another one.
    pub fn experiment_name(&self, seed: Option<u64>) -> Result<String> {
        let name = match self {
            Self::Shipped(shipped) => shipped.name().to_owned(),
            Self::File(path) => self.name_of_file(path)?,
        };
        let own = self.read(None)?;
        Ok(match seed {
            Some(seed) if own != self.read(Some(seed))? => format!("{name}-seed-{seed}"),
            _ => name,
        })
    }

    fn name_of_file(&self, path: &Path) -> Result<String> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if !is_name(&name) {
            return Err(Error::file(
                path,
                "its name is that of the experiment's folders; allowed: letters, digits, - and _, then .toml",
            ));
        }
        if let Some(shipped) = ShippedPreset::of_name(&name)
            && self.read(None)? != Self::Shipped(shipped).read(None)?
        {
            return Err(Error::file(
                path,
                format!(
                    "is called like the preset {name} that comes with the program, and differs from it; give the file \
                     another name, so that their folders stay apart"
                ),
            ));
        }
        Ok(name)
    }
}
