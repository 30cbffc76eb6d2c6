//! Where in a looped model a state is: the (iteration, layer) of a site, as every table names it.

use serde::{Deserialize, Serialize};

use crate::model::Site;

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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Point;

    #[test]
    fn places_count_from_one_and_the_embedding_is_0() {
        assert_eq!(Place::of(Site::embed(), 3), Place::EMBEDDING);
        let place = Place::of(Site::new(Point::ResidPost, 2, 1), 3);
        assert_eq!((place.effective_layer, place.iteration, place.layer), (8, 3, 2));
    }
}
