package hook

// PointsOf lists the hooks that a plugin has, attached or not.
func PointsOf(plugin any) []Point { return pointsOf(plugin) }
