use super::*;

fn device(name: &str, kind: DeviceKind, id: Option<&str>) -> Device {
    Device {
        id: id.map(Into::into),
        ..Device::of_test(name, kind, 1)
    }
}

fn machine() -> Vec<Device> {
    vec![
        device("CUDA0", DeviceKind::Gpu, Some("a")),
        device("CUDA1", DeviceKind::Gpu, Some("b")),
        device("Vulkan0", DeviceKind::Gpu, Some("a")),
        device("Vulkan1", DeviceKind::IntegratedGpu, Some("c")),
        device("BLAS", DeviceKind::Accelerator, None),
        device("CPU", DeviceKind::Cpu, None),
        device("RPC0", DeviceKind::Worker, None),
    ]
}

fn chosen(options: &DeviceOptions) -> Result<Vec<String>, String> {
    let devices = options.choose(&machine());
    let names = |them: Vec<Device>| them.into_iter().map(|it| it.name).collect();
    devices.map(names).map_err(|error| error.to_string())
}

fn names(names: &[&str]) -> Option<Vec<String>> {
    Some(names.iter().map(|&name| name.into()).collect())
}

#[test]
fn devices_are_chosen_as_llama_cpp_does() {
    let default = DeviceOptions::default;
    for (options, expected) in [
        (default(), &["RPC0", "CUDA0", "CUDA1"][..]),
        (
            DeviceOptions {
                count: Some(1),
                ..default()
            },
            &["RPC0"],
        ),
        (
            DeviceOptions {
                names: names(&["cuda1", "Vulkan1"]),
                ..default()
            },
            &["CUDA1", "Vulkan1"],
        ),
        (
            DeviceOptions {
                names: names(&[]),
                ..default()
            },
            &[],
        ),
        (
            DeviceOptions {
                split_mode: SplitMode::None,
                main_gpu: 2,
                ..default()
            },
            &["CUDA1"],
        ),
        (
            DeviceOptions {
                split_mode: SplitMode::None,
                main_gpu: -1,
                ..default()
            },
            &[],
        ),
        (
            DeviceOptions {
                tensor_split: vec![1.0, 0.0, 2.0],
                ..default()
            },
            &["RPC0", "CUDA0", "CUDA1"],
        ),
    ] {
        assert_eq!(chosen(&options).unwrap(), expected, "{options:?}");
    }
    let igpu = [device("Vulkan0", DeviceKind::IntegratedGpu, None)];
    assert_eq!(default().choose(&igpu).unwrap(), igpu);
}

#[test]
fn what_is_not_there_is_named() {
    let default = DeviceOptions::default;
    let to = |buffer: &str| TensorOverride {
        pattern: "x".into(),
        buffer: buffer.into(),
    };
    for (options, words) in [
        (
            DeviceOptions {
                names: names(&["CUDA7"]),
                ..default()
            },
            "\"CUDA7\"",
        ),
        (
            DeviceOptions {
                names: names(&["CPU"]),
                ..default()
            },
            "choose from CUDA0, CUDA1, Vulkan0",
        ),
        (
            DeviceOptions {
                count: Some(4),
                ..default()
            },
            "asked for, but there are 3",
        ),
        (
            DeviceOptions {
                main_gpu: 3,
                ..default()
            },
            "number 3, but there are 3",
        ),
        (
            DeviceOptions {
                split_mode: SplitMode::None,
                main_gpu: 3,
                ..default()
            },
            "number 3",
        ),
        (
            DeviceOptions {
                tensor_split: vec![1.0; 4],
                ..default()
            },
            "4 shares",
        ),
        (
            DeviceOptions {
                names: names(&[]),
                split_mode: SplitMode::Tensor,
                ..default()
            },
            "without a device",
        ),
        (
            DeviceOptions {
                overrides: vec![to("ROCm0")],
                ..default()
            },
            "\"ROCm0\": choose from CUDA0",
        ),
    ] {
        let error = chosen(&options).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
    let fine = DeviceOptions {
        overrides: vec![to("CPU")],
        ..default()
    };
    assert!(chosen(&fine).is_ok());
}
