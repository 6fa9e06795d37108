//! MLPs as one operation, with the residual connection around them.

use super::*;

/// Several values are rounded to bf16 between input and output, the norm's result first, and so are their gradients: the sum
/// of some errors of rounding once, which are 1.7e-3 each.
const ROUNDED_BETWEEN: f64 = 8e-3;

/// A residual connection around three maps without biases, with the norm's weight behind theirs.
fn residual_gated(x: &Tensor, p: &[Parameter]) -> Result<Tensor> {
    residual_gated_mlp(x, &norm(&p[3..]), &gated(p), Product::Blocked)
}

fn gated(p: &[Parameter]) -> GatedMaps {
    GatedMaps { gate: map(&p[0], None), up: map(&p[1], None), down: map(&p[2], None) }
}

/// Two maps with biases.
fn activated(p: &[Parameter], activation: Gelu) -> MlpMaps {
    MlpMaps { first: map(&p[0], Some(&p[1])), activation, second: map(&p[2], Some(&p[3])) }
}

/// Weights of gate, up and down, and of the norm.
fn gated_weights(hidden: usize, wide: usize) -> Vec<Tensor> {
    let maps = [[wide, hidden], [wide, hidden], [hidden, wide]];
    let maps = maps.iter().zip(2..).map(|(shape, seed)| (numbers(shape, seed) * 0.3).unwrap());
    maps.chain([numbers(&[hidden], 5)]).collect()
}

#[test]
fn a_gated_mlp_on_the_device_is_that_of_the_cpu() {
    for (rows, hidden, wide) in [(3, 16, 40), (70, 24, 33), (300, 40, 104)] {
        check_on_device(
            &format!("residual gated mlp {rows} x {hidden}, {wide} wide"),
            &|x, p| residual_gated(&x[0], p),
            &[numbers(&[rows, hidden], 1)],
            &gated_weights(hidden, wide),
            [ROUNDED_BETWEEN; 2],
        );
    }
}

#[test]
fn a_gated_mlp_with_biases_on_the_device_is_that_of_the_cpu() {
    let mut parameters = gated_weights(24, 40);
    parameters.extend([(40, 6), (40, 7), (24, 8)].map(|(n, seed)| numbers(&[n], seed)));
    check_on_device(
        "residual gated mlp with biases",
        &|x, p| {
            let [gate, up, down] = [0, 1, 2].map(|i| map(&p[i], Some(&p[4 + i])));
            let maps = GatedMaps { gate, up, down };
            residual_gated_mlp(&x[0], &norm(&p[3..4]), &maps, Product::Blocked)
        },
        &[numbers(&[70, 24], 1)],
        &parameters,
        [ROUNDED_BETWEEN; 2],
    );
}

#[test]
fn an_mlp_on_the_device_is_that_of_the_cpu() {
    for activation in [Gelu::Quick, Gelu::Tanh, Gelu::Erf] {
        for (rows, hidden, wide, out) in [(3, 16, 40, 24), (70, 24, 33, 8), (300, 40, 104, 40)] {
            check_on_device(
                &format!("mlp {rows} x {hidden}, {activation:?}, {wide} wide, {out}"),
                &|x, p| mlp(&x[0], &activated(p, activation), Product::Blocked),
                &[numbers(&[rows, hidden], 1)],
                &[
                    (numbers(&[wide, hidden], 2) * 0.5).unwrap(),
                    numbers(&[wide], 3),
                    (numbers(&[out, wide], 4) * 0.5).unwrap(),
                    numbers(&[out], 5),
                ],
                [ROUNDED_BETWEEN; 2],
            );
        }
    }
}

#[test]
fn a_residual_mlp_on_the_device_is_that_of_the_cpu() {
    for (rows, hidden, wide) in [(1, 16, 40), (70, 24, 33), (300, 40, 104)] {
        let shapes =
            [&[wide, hidden][..], &[wide], &[hidden, wide], &[hidden], &[hidden], &[hidden]];
        let values = shapes.iter().zip(2..).map(|(shape, seed)| numbers(shape, seed) * 0.5);
        check_on_device(
            &format!("residual mlp {rows} x {hidden}, {wide} wide"),
            &|x, p| {
                let maps = activated(p, Gelu::Quick);
                residual_mlp(&x[0], &norm(&p[4..]), &maps, Product::Blocked)
            },
            &[numbers(&[rows, hidden], 1)],
            &values.collect::<Result<Vec<_>>>().unwrap(),
            [ROUNDED_BETWEEN; 2],
        );
    }
}

fn trained(value: &Tensor) -> Parameter {
    Parameter::trainable("p", &bf16_on_device(value)).unwrap()
}

/// One pass: the gradient to the input.
fn pass(parameters: &[Parameter], seed: u64) -> Tensor {
    let x = Var::from_tensor(&bf16_on_device(&numbers(&[70, 24], seed))).unwrap();
    let y = residual_gated(&x, parameters).unwrap();
    let store = scalar(&y).unwrap().backward().unwrap();
    store.get(&x).unwrap().detach()
}

#[test]
fn what_is_frozen_in_an_mlp_changes_no_other_gradient_on_the_device() {
    let weights = gated_weights(24, 40);
    let all: Vec<Parameter> = weights.iter().map(trained).collect();
    let dx = f64_here(&pass(&all, 1));
    for frozen in 0..4 {
        let mut some: Vec<Parameter> = weights.iter().map(trained).collect();
        some[frozen] = some[frozen].detached();
        assert_eq!(f64_here(&pass(&some, 1)), dx);
        for (i, (some, all)) in some.iter().zip(&all).enumerate() {
            let gradient = some.gradient().map(|x| f64_here(&x));
            let expected = (i != frozen).then(|| f64_here(&all.gradient().unwrap()));
            assert_eq!(gradient, expected, "parameter {i} where {frozen} is frozen");
        }
    }
}

#[test]
fn gradients_of_several_passes_of_an_mlp_add_up_on_the_device() {
    let parameters: Vec<Parameter> = gated_weights(24, 40).iter().map(trained).collect();
    let taken = |seeds: &[u64]| -> Vec<Tensor> {
        for &seed in seeds {
            pass(&parameters, seed);
        }
        parameters.iter().map(|p| p.take_gradient().unwrap().unwrap()).collect()
    };
    let (first, second, both) = (taken(&[1]), taken(&[8]), taken(&[1, 8]));
    for ((first, second), both) in first.into_iter().zip(second).zip(&both) {
        assert!(relative_error(both, &(first + second).unwrap()) < 1e-6);
    }
}

#[test]
fn an_mlp_of_an_input_that_nothing_tracks_is_on_no_tape_and_has_the_same_bits() {
    let values =
        [numbers(&[40, 24], 2), numbers(&[40], 3), numbers(&[24, 40], 4), numbers(&[24], 5)];
    let parameters: Vec<Parameter> = values.iter().map(trained).collect();
    let gated_parameters: Vec<Parameter> = gated_weights(24, 40).iter().map(trained).collect();
    let x = bf16_on_device(&numbers(&[70, 24], 1));
    let tracked = Var::from_tensor(&x).unwrap();
    let run = |x: &Tensor| {
        let maps = activated(&parameters, Gelu::Quick);
        let gated = residual_gated(x, &gated_parameters).unwrap();
        [mlp(x, &maps, Product::Blocked).unwrap(), gated]
    };
    for (alone, taped) in run(&x).iter().zip(&run(&tracked)) {
        assert!(!alone.track_op() && taped.track_op());
        assert_eq!(f64_here(alone), f64_here(taped));
    }
}
