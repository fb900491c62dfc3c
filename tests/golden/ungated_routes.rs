//! Which routes run without a caller.

use super::compare;

#[test]
fn the_ungated_routes_are_the_reviewed_ones() {
    compare("ungated_routes.txt", &chancery::surface::ungated_routes());
}
