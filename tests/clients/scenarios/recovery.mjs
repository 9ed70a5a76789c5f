export const recovery = [];
