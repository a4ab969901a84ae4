wit_bindgen::generate!({ world: "substrate", path: "../../wit", generate_all, std_feature });
