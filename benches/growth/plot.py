"""Line plots as SVG: a logarithmic axis for the number of things, a linear one from zero for what they cost."""

import math

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 380, 70, 150, 40, 50
COLORS = ("#0b6e4f", "#7fb8a4", "#2456a6", "#b3541e")


def steps(most):
    """Returns round values from zero to the largest."""
    raw = most / 5
    size = 10 ** math.floor(math.log10(raw))
    step = next(size * times for times in (1, 2, 5, 10) if size * times >= raw)
    return [step * number for number in range(math.ceil(most / step) + 1)]


def plot(title, unit, across, lines):
    """Returns an SVG. `lines`: name, and (number, value) pairs of each line."""
    numbers = sorted({number for _, points in lines for number, _ in points})
    values = steps(max(value for _, points in lines for _, value in points) or 1)
    low, high = math.log10(numbers[0]), math.log10(numbers[-1])

    def x(number):
        return LEFT + (math.log10(number) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(value):
        return HEIGHT - BOTTOM - value / values[-1] * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<title>{title}</title>', f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="20" font-size="14">{title}</text>',
        f'<text x="{(WIDTH + LEFT - RIGHT) / 2:.0f}" y="{HEIGHT - 10}" text-anchor="middle">{across}</text>',
        f'<text x="{LEFT - 8}" y="{TOP - 8}" text-anchor="end">{unit}</text>',
    ]
    for value in values:
        parts.append(f'<path d="M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:,.6g}</text>')
    for number in numbers:
        parts.append(f'<text x="{x(number):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{number:,}</text>')
    ends = sorted(((y(points[-1][1]), index) for index, (_, points) in enumerate(lines)))
    place, labels = 0, {}
    for end, index in ends:
        place = max(end + 4, place + 15)
        labels[index] = place
    for index, (name, points) in enumerate(lines):
        color, dash = COLORS[index % len(COLORS)], ' stroke-dasharray="4 3"' if "again" in name else ""
        path = " ".join(f"{x(number):.1f},{y(value):.1f}" for number, value in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"{dash}/>')
        parts += [f'<circle cx="{x(number):.1f}" cy="{y(value):.1f}" r="3" fill="{color}"/>' for number, value in points]
        parts.append(f'<text x="{x(points[-1][0]) + 8:.1f}" y="{labels[index]:.1f}" fill="{color}">{name}</text>')
    return "\n".join([*parts, "</svg>", ""])
