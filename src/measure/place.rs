//! Where in a looped model a state is: the (iteration, layer) of a site, as every table names it.

use serde::{Deserialize, Serialize};

use crate::model::{Point, Site};

/// A place in the loop. Iterations and layers count from 1, as in the paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// (iteration − 1) × layers + layer; 0 is the embedding.
    pub effective_layer: usize,
    /// 0 at the embedding, as the layer.
    pub iteration: usize,
    /// The layer inside the block; 0 at the embedding.
    pub layer: usize,
}

impl Place {
    /// The embedding.
    pub const EMBEDDING: Self = Self {
        effective_layer: 0,
        iteration: 0,
        layer: 0,
    };

    /// The place of a site of a block of `layers` layers; a site outside the block is at the embedding.
    pub fn of(site: Site, layers: usize) -> Self {
        if !site.point().in_block() {
            return Self::EMBEDDING;
        }
        Self {
            effective_layer: site.iteration() * layers + site.layer() + 1,
            iteration: site.iteration() + 1,
            layer: site.layer() + 1,
        }
    }

    /// The place of the residual stream after `effective_layer` layers of a block of `layers` layers.
    pub fn after(effective_layer: usize, layers: usize) -> Self {
        match effective_layer {
            0 => Self::EMBEDDING,
            _ => Self::of(residual_stream(effective_layer, layers), layers),
        }
    }
}

/// The site of the residual stream after `effective_layer` layers of a block of `layers` layers.
///
/// That is `resid_post` of the last of them: between two iterations the input injection of the next is not added yet, so that a
/// state that is put in there is followed by the query's own embedding. Before the first layer, where nothing is injected, it is
/// `resid_pre`.
pub(super) fn residual_stream(effective_layer: usize, layers: usize) -> Site {
    match effective_layer.checked_sub(1) {
        None => Site::new(Point::ResidPre, 0, 0),
        Some(last) => Site::new(Point::ResidPost, last / layers, last % layers),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_from_one_and_the_embedding_is_0() {
        assert_eq!(Place::of(Site::embed(), 3), Place::EMBEDDING);
        let place = Place::of(Site::new(Point::ResidPost, 2, 1), 3);
        assert_eq!((place.effective_layer, place.iteration, place.layer), (8, 3, 2));
    }
}
