import{b as t,e as o}from"./chunk-DTFG77JO.js";import"./chunk-L7H5YR3U.js";import"./chunk-47XQY36Z.js";import"./chunk-RNLQMX4Q.js";export{t as Dataset,o as Datasets};
