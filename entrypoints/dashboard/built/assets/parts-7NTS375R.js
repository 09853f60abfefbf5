//# allFunctionsCalledOnLoad
import{R as a,S as b,T as c}from"./chunk-VEOFOZRN.js";import"./chunk-BUALJPZF.js";export{a as Activity,b as Invitations,c as NewProject};
