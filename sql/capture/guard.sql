
  if {{is_full}}({{relation}}, {{most_bytes}}, {{generation}}) then
    return null;
  end if;
